package xentest

func measureCases() []Case { return nil }
