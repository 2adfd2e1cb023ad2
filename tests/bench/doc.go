// Package bench measures unikernels beside their peers in one boot of a Xen host, so that figures of an emulated host
// mean something: as ratios.
//
// What runs in the guests is one static Go program, the one that imports this package: its main calls Figures when its
// first argument is FiguresWord. Machine starts it as a unikernel and in a stock Linux PVH guest of the same memory and
// one CPU, in turn, and takes the best of the rounds. Lives measures images' whole lives beside Trivial, a PVH kernel
// that does nothing but end.
//
// It runs in dom0, because events and ends of domains are timed there.
package bench
