package chaos

// Shrink returns the smallest plan found that still fails: a plan from which no fault can be left
// out. fails runs a plan; the first run is of a smaller plan than p, because p is known to fail.
// Shrink first tries halves of the method, then the method without each part, then smaller parts
// (delta debugging).
func Shrink(p *Plan, fails func(*Plan) bool) *Plan {
	method := p.Method
	for parts := 2; len(method) > 1; {
		smaller, ok := shrinkOnce(p, method, parts, fails)
		switch {
		case ok && len(smaller)*parts <= len(method): // one part alone fails
			method, parts = smaller, 2
		case ok:
			method, parts = smaller, max(2, parts-1)
		case parts >= len(method):
			return p.with(method)
		default:
			parts = min(len(method), 2*parts)
		}
	}
	return p.with(method)
}

// shrinkOnce tries each part of the method alone, then the method without each part.
func shrinkOnce(p *Plan, method []Fault, parts int, fails func(*Plan) bool) ([]Fault, bool) {
	part := func(n int) (from, to int) {
		return n * len(method) / parts, (n + 1) * len(method) / parts
	}
	for n := range parts {
		from, to := part(n)
		if alone := method[from:to]; fails(p.with(alone)) {
			return alone, true
		}
	}
	for n := range parts {
		if parts == 2 {
			break // the rest is the other part
		}
		from, to := part(n)
		rest := append(append([]Fault{}, method[:from]...), method[to:]...)
		if fails(p.with(rest)) {
			return rest, true
		}
	}
	return nil, false
}

// with is the plan with another method.
func (p *Plan) with(method []Fault) *Plan {
	other := *p
	other.Method = append([]Fault{}, method...)
	return &other
}
