package main

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"
)

const table = "../../../../tests/golden/table.json"

func TestAnswersALineWithALine(t *testing.T) {
	data, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	asked := []string{
		`{"table": "` + base64.StdEncoding.EncodeToString(data) + `"}`,
		`{"table": "e30="}`,
		`{"pool": {"group": "realtime", "familyId": "torch-8f25fe36", "ordinal": 0}}`,
		`{"order": {"shard": 1, "bits": 1, "pools": ["b", "a"]}}`,
		`{"order": {"shard": 2, "bits": 1, "pools": []}}`,
		`{"id": "acme-banking", "group": "realtime", "framework": "torch", "pin": null}`,
		`{}`,
		`no question`,
	}
	wanted := []string{`{"epoch":"42"}`, `"refused":"format"`, `{"name":"realtime-torch-8f25fe36-bc75b8"}`, `{"order":["`,
		`{"error":`, `{"hash":"a2a49fa51cce54ef","familyId":"torch-8f25fe36","shard":10,"pools":[{"name"`, `{"error":`, `{"error":`}
	var out strings.Builder
	if err := run(nil, strings.NewReader(strings.Join(asked, "\n")), &out); err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(answers) != len(wanted) {
		t.Fatalf("%d answers to %d questions", len(answers), len(wanted))
	}
	for i, want := range wanted {
		if !strings.Contains(answers[i], want) {
			t.Errorf("%s\n  answered %s\n  wanted   %s", asked[i], answers[i], want)
		}
	}
}

func TestTakesTheTableFromAFile(t *testing.T) {
	var out strings.Builder
	if err := run([]string{table}, strings.NewReader(`{"id":"a","group":"realtime","framework":"torch"}`), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"shard":1`) {
		t.Error(out.String())
	}
	if err := run([]string{"main.go"}, strings.NewReader(""), &out); err == nil {
		t.Error("a file that is no table was accepted")
	}
}
