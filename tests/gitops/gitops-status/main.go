// gitops-status prints what GitOps tools show of Kubernetes objects: the status that kstatus computes
// (Flux, kubectl of cli-utils), and the health and the actions of Argo CD.
//
//	gitops-status ARGOCD_CM < LIST            a line for each object, fields separated by tabs:
//	                                          Kind/name, kstatus, health, enabled actions, message
//	gitops-status ARGOCD_CM ACTION < OBJECT   what the action returns: [{operation, resource}]
//
// ARGOCD_CM is a ConfigMap in YAML. Its scripts run in the Lua of Argo CD (gopher-lua) with the same
// few libraries: there is no `string`, for example. LIST and OBJECT are JSON.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

// actions is the value of `resource.customizations.actions.GROUP_KIND`.
type actions struct {
	Discovery   string `json:"discovery.lua"`
	Definitions []struct {
		Name   string `json:"name"`
		Script string `json:"action.lua"`
	} `json:"definitions"`
}

type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gitops-status:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		return errors.New("expected ARGOCD_CM [ACTION]")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &configMap); err != nil {
		return err
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(input, object); err != nil {
		return err
	}
	if len(os.Args) == 3 {
		return printAction(configMap.Data, object, os.Args[2])
	}
	list, err := object.ToList()
	if err != nil {
		return err
	}
	for i := range list.Items {
		if err := printLine(configMap.Data, &list.Items[i]); err != nil {
			return fmt.Errorf("%s/%s: %w", list.Items[i].GetKind(), list.Items[i].GetName(), err)
		}
	}
	return nil
}

// script returns the customization of the object's kind.
func script(data map[string]string, subject string, object *unstructured.Unstructured) (string, error) {
	kind := object.GroupVersionKind()
	name := fmt.Sprintf("resource.customizations.%s.%s_%s", subject, kind.Group, kind.Kind)
	if data[name] == "" {
		return "", fmt.Errorf("%s is missing", name)
	}
	return data[name], nil
}

func actionsOf(data map[string]string, object *unstructured.Unstructured) (actions, error) {
	var found actions
	text, err := script(data, "actions", object)
	if err != nil {
		return found, nil // not every kind has actions
	}
	return found, yaml.UnmarshalStrict([]byte(text), &found)
}

func printLine(data map[string]string, object *unstructured.Unstructured) error {
	computed, err := status.Compute(object)
	if err != nil {
		return err
	}
	text, err := script(data, "health", object)
	if err != nil {
		return err
	}
	var shown health
	if err := execute(text, object, &shown); err != nil {
		return err
	}
	switch shown.Status {
	case "Healthy", "Progressing", "Degraded", "Suspended":
	default:
		return fmt.Errorf("the health %q does not exist", shown.Status)
	}
	found, err := actionsOf(data, object)
	if err != nil {
		return err
	}
	var enabled []string
	if found.Discovery != "" {
		var discovered map[string]struct {
			Disabled bool `json:"disabled"`
		}
		if err := execute(found.Discovery, object, &discovered); err != nil {
			return err
		}
		for name, action := range discovered {
			if !action.Disabled {
				enabled = append(enabled, name)
			}
		}
		sort.Strings(enabled)
	}
	fmt.Printf("%s/%s\t%s\t%s\t%s\t%s\n", object.GetKind(), object.GetName(), computed.Status,
		shown.Status, strings.Join(enabled, ","), shown.Message)
	return nil
}

func printAction(data map[string]string, object *unstructured.Unstructured, name string) error {
	found, err := actionsOf(data, object)
	if err != nil {
		return err
	}
	for _, definition := range found.Definitions {
		if definition.Name == name {
			var result []struct {
				Operation string         `json:"operation"`
				Resource  map[string]any `json:"resource"`
			}
			if err := execute(definition.Script, object, &result); err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(result)
		}
	}
	return fmt.Errorf("%s has no action %s", object.GetKind(), name)
}

// execute runs a script with the global `obj`, and decodes the table that it returns.
func execute(text string, object *unstructured.Unstructured, result any) error {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
		lua.OsLibName:   openClock,
	} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return err
		}
	}
	// By way of JSON: kstatus needs integers, and the Lua library does not know them.
	encoded, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	value, err := luajson.Decode(state, encoded)
	if err != nil {
		return err
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(text); err != nil {
		return err
	}
	returned := state.Get(-1)
	if returned.Type() != lua.LTTable {
		return fmt.Errorf("the script returns a %s instead of a table", returned.Type())
	}
	encoded, err = luajson.Encode(returned)
	if err != nil {
		return err
	}
	return json.Unmarshal(encoded, result)
}

// openClock is the library `os` with nothing but the clock.
func openClock(state *lua.LState) int {
	lua.OpenOs(state)
	full := state.GetGlobal(lua.OsLibName).(*lua.LTable)
	clock := state.NewTable()
	for _, name := range []string{"time", "date"} {
		clock.RawSetString(name, full.RawGetString(name))
	}
	state.SetGlobal(lua.OsLibName, clock)
	return 0
}
