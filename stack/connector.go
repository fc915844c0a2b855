package stack
import ("context";"github.com/jackc/pglogrepl")
type source struct{}
func (s *source) metricsURL() string {return ""}
func (s *source) confirmed() pglogrepl.LSN {return ^pglogrepl.LSN(0)}
func (s *Stack) prepareConnector(context.Context) error { s.parts.connector=&source{}; return nil }
func (s *source) Name() string {return Connector}
func (s *source) Version() string {return ""}
func (s *source) Start(context.Context) error {return nil}
func (s *source) Stop(context.Context) error {return nil}
func (s *source) Kill() error {return nil}
func (s *source) Pause() error {return nil}
func (s *source) Resume() error {return nil}
func (s *source) Health(context.Context) error {return nil}
func (s *source) PIDs() []int {return nil}
