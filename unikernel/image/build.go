package image

import (
	"fmt"
	"os"
	"os/exec"
)

// linux is the environment in which programs and the kernel are built.
func linux() []string { return append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64") }

// BuildKernel compiles unikernel/kernel to the file name and returns its content. It needs the module's source.
func BuildKernel(name string) ([]byte, error) { return buildKernel(name, "") }

func buildKernel(name, ldflags string, args ...string) ([]byte, error) {
	// The linker takes the top 2 GiB as a negative address; the ELF header's page is one page below the text.
	a := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-w -buildid= -T -0x7ffff000 -E main.entry64" + ldflags}
	a = append(a, args...)
	return build(exec.Command("go", append(a, "-o", name, "morgana/unikernel/kernel")...), name)
}

// BuildDefective is BuildKernel, trimmed, of a kernel that is wrong on purpose in the way that defect names
// (unikernel/kernel/defect_on.go): the conformance suite must notice.
func BuildDefective(name, defect string) ([]byte, error) {
	b, err := buildKernel(name, " -X main.defectName="+defect, "-tags=defect")
	if err != nil {
		return nil, err
	}
	literals, err := KernelStrings()
	if err != nil {
		return nil, err
	}
	blob, _, err := TrimKernel(b, literals)
	return blob, err
}

// BuildProgram compiles the Go package pkg, with more arguments for go build, to the file name and returns its content.
func BuildProgram(name, pkg string, args ...string) ([]byte, error) {
	a := append([]string{"build", "-trimpath", "-ldflags=-s -w"}, args...)
	return build(exec.Command("go", append(a, "-o", name, pkg)...), name)
}

// BuildTest compiles the tests of the Go package pkg to the file name and returns its content.
func BuildTest(name, pkg string, args ...string) ([]byte, error) {
	a := append([]string{"test", "-c", "-trimpath", "-ldflags=-s -w"}, args...)
	return build(exec.Command("go", append(a, "-o", name, pkg)...), name)
}

func build(c *exec.Cmd, name string) ([]byte, error) {
	c.Env = linux()
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", c, err, out)
	}
	return os.ReadFile(name)
}
