package architecture

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameWhatIsThere: tests and documents that the documents name exist.
func TestDocsNameWhatIsThere(t *testing.T) {
	const root = "../.."
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w*)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == "build") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, "_test.go") {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range declared.FindAllSubmatch(b, -1) {
				tests[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Glob(root + "/docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)[`/]")
	document := regexp.MustCompile("`(?:docs/)?([a-z-]+\\.md)`")
	for _, file := range append(docs, root+"/README.md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllSubmatch(b, -1) {
			if !tests[string(m[1])] {
				t.Errorf("%s names %s, which is not there", filepath.Base(file), m[1])
			}
		}
		for _, m := range document.FindAllSubmatch(b, -1) {
			if _, err := os.Stat(filepath.Join(root, "docs", string(m[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", filepath.Base(file), m[1])
			}
		}
	}
}
