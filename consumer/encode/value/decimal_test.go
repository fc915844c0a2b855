package value

import (
	"encoding/base64"
	"math/big"
	"strconv"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// TestDecimalsAreExact: a decimal is read as the driver reads exact decimals; a decimal that the
// driver would cut stays a text.
func TestDecimalsAreExact(t *testing.T) {
	t.Parallel()
	digits := rapid.OneOf(rapid.StringMatching(`[0-9]{1,5}`), rapid.StringMatching(`[0-9]{15,45}`),
		rapid.StringMatching(`[1-9]0{20,60}`))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "-", "+"}).Draw(t, "sign") + digits.Draw(t, "whole")
		if rapid.Bool().Draw(t, "point") {
			text += "." + digits.Draw(t, "fraction")
		}
		if rapid.Bool().Draw(t, "scientific") {
			text += "E" + strconv.Itoa(rapid.OneOf(rapid.IntRange(-50, 50),
				rapid.IntRange(-6300, 6300)).Draw(t, "exponent"))
		}
		d, v := ParseDecimal([]byte(text))
		want, err := DecimalText(text)
		if err != nil || v == NoDecimal {
			t.Fatalf("%s is no decimal: %v", text, err)
		}
		if v == TooLong {
			if driver, err := bson.ParseDecimal128(text); err == nil {
				if got, err := DecimalText(driver.String()); err == nil && got == want {
					t.Fatalf("%s fits Decimal128 as %v", text, driver)
				}
			}
			return
		}
		stored := bson.NewDecimal128(d.High, d.Low)
		if got, err := DecimalText(stored.String()); err != nil || got != want {
			t.Fatalf("%s is stored as %v", text, stored)
		}
		if got, err := DecimalText(string(d.AppendText(nil))); err != nil || got != want {
			t.Fatalf("the text of %s is %s", text, got)
		}
	})
}

// TestPreciseDecimals: the base64 of an unscaled number is that number.
func TestPreciseDecimals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 1, 24).Draw(t, "bytes")
		scale := rapid.IntRange(-40, 60).Draw(t, "scale")
		n := new(big.Int).SetBytes(raw)
		if raw[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
		want, err := DecimalText(n.String() + "E" + strconv.Itoa(-scale))
		if err != nil {
			t.Fatal(err)
		}
		d, long, v := ParseUnscaled([]byte(base64.StdEncoding.EncodeToString(raw)), scale, nil)
		text := string(long)
		if v == Fits {
			text = bson.NewDecimal128(d.High, d.Low).String()
		}
		if got, err := DecimalText(text); err != nil || got != want || v == NoDecimal {
			t.Fatalf("%x of scale %d is %s, want %s", raw, scale, text, want)
		}
	})
}

// TestDecimalOrder: decimals compare as their rational numbers do.
func TestDecimalOrder(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,14})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		one, _ := ParseDecimal([]byte(a))
		other, _ := ParseDecimal([]byte(b))
		if order, ordered := one.Compare(other); !ordered || sign(order) != x.Cmp(y) {
			t.Fatalf("%s and %s: %d", a, b, order)
		}
	})
	infinite := []Decimal{{decimalInfinity | decimalSign, 0}, {decimalSign, 5},
		{decimalInfinity, 0}}
	for i, a := range infinite {
		for j, b := range infinite {
			if order, ordered := a.Compare(b); !ordered ||
				i != 1 && j != 1 && sign(order) != sign(i-j) {
				t.Errorf("%d and %d: %d", i, j, order)
			}
		}
	}
	if _, ordered := (Decimal{High: decimalNaN}).Compare(Decimal{}); ordered {
		t.Error("NaN has an order")
	}
}

func sign(n int) int { return max(-1, min(1, n)) }
