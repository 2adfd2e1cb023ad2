// Package args reads lvm2's command lines: options in any order among the operands, short ones joined (-an, -ff, -L5M),
// long ones shortened as long as they stay unique, values in lvm2's own syntax.
//
// The command line library of the project's other programs cannot do that: its parser stops at the first operand, counts
// no repeated options, and knows no -L5M. lvm2's is getopt_long(3) with a table for each verb; this is the same, with
// lvm2's tables, so that an option which lvm2 has and mlvm has not is refused by its name and not as a typing error.
//
// What is wrong with a command line is a *UsageError, whose text is what lvm2 prints.
//
//	p, err := args.Parse("lvcreate", []string{"vg0", "-L", "1.5g", "-an", "--name=root"}, nil)
//	p.Operands            // vg0
//	p.Str("name", "")     // root
//	size, _ := p.Get("size") // size.N is 3145728 sectors
//
// Sources: lvm(8), lvcreate(8) and the other pages of lvm2 2.03.16; getopt_long(3).
package args
