{{- define "chronos.name" -}}
{{- if contains "chronos" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-chronos" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "chronos.selector" -}}
app.kubernetes.io/name: chronos
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "chronos.labels" -}}
{{ include "chronos.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "chronos.checked" -}}
{{- $replicas := int .Values.replicas }}
{{- if not (has $replicas (list 1 3 5)) }}{{ fail "replicas: 1, 3 or 5; with an even number as many may be lost as with one less" }}{{ end }}
{{- if gt $replicas 1 }}
{{- $_ := required "cluster.name: what `chronos cluster init --name` was given" .Values.cluster.name }}
{{- $_ := required "cluster.uuid: what `chronos cluster init` has printed" .Values.cluster.uuid }}
{{- end }}
{{- range $section := list "cluster" "server" }}
{{- if hasKey $.Values.config $section }}{{ fail (printf "config.%s is the chart's own; use env for a key of it" $section) }}{{ end }}
{{- end }}
{{- end }}
