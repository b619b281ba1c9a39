// Renders a chart as `helm template` does: Go's templates, sprig's functions, and the few that Helm adds.
//
//	go run . CHART RELEASE NAMESPACE < values.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(path string, into any) {
	text, err := os.ReadFile(path)
	check(err)
	check(yaml.Unmarshal(text, into))
}

// Lays one set of values over another; maps are merged, all else is replaced.
func merge(under, over map[string]any) map[string]any {
	for key, value := range over {
		inner, isMap := value.(map[string]any)
		if before, was := under[key].(map[string]any); isMap && was {
			under[key] = merge(before, inner)
		} else {
			under[key] = value
		}
	}
	return under
}

func main() {
	folder, release, namespace := os.Args[1], os.Args[2], os.Args[3]
	values, given, chart := map[string]any{}, map[string]any{}, map[string]any{}
	read(filepath.Join(folder, "values.yaml"), &values)
	read(filepath.Join(folder, "Chart.yaml"), &chart)
	check(json.NewDecoder(os.Stdin).Decode(&given))

	all := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	delete(functions, "env")
	delete(functions, "expandenv")
	functions["toYaml"] = func(value any) string {
		text, err := yaml.Marshal(value)
		check(err)
		return strings.TrimSuffix(string(text), "\n")
	}
	functions["required"] = func(message string, value any) (any, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	functions["include"] = func(name string, data any) (string, error) {
		var out strings.Builder
		err := all.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	all.Funcs(functions)

	paths, err := filepath.Glob(filepath.Join(folder, "templates", "*"))
	check(err)
	sort.Strings(paths)
	base := chart["name"].(string) + "/templates"
	for _, path := range paths {
		text, err := os.ReadFile(path)
		check(err)
		_, err = all.New(base + "/" + filepath.Base(path)).Parse(string(text))
		check(err)
	}
	data := map[string]any{
		"Values":   merge(values, given),
		"Release":  map[string]any{"Name": release, "Namespace": namespace, "Service": "Helm"},
		"Chart":    map[string]any{"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
		"Template": map[string]any{"BasePath": base},
	}
	for _, path := range paths {
		if strings.HasPrefix(filepath.Base(path), "_") {
			continue
		}
		var out strings.Builder
		check(all.ExecuteTemplate(&out, base+"/"+filepath.Base(path), data))
		fmt.Printf("---\n# Source: %s\n%s\n", filepath.Base(path), out.String())
	}
}
