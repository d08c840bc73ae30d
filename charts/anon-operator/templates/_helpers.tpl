{{- /* The chart's name, for labels. */}}
{{- define "anon-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /*
Prefix of every object's name: the release's name, followed by the chart's name unless it already
contains it, so that the release "anon-operator" results in "anon-operator". At most 40 characters,
which leaves room for the suffixes and for a Pod's name in the name of its Lease.
*/}}
{{- define "anon-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "anon-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "anon-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "anon-operator.labels" -}}
{{ include "anon-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: anon
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /*
User names as the API server sees them, which the admission policies compare with. There is one for
each role of the binary, so that the policies allow each role only what it writes. With allInOne they
are all the same account.
*/}}
{{- define "anon-operator.username" -}}
{{- $name := .context.Values.allInOne | ternary "operator" .name }}
{{- printf "system:serviceaccount:%s:%s" .context.Release.Namespace (include "anon-operator.account" (dict "context" .context "name" $name)) }}
{{- end }}

{{- define "anon-operator.controllerUsername" -}}
{{- include "anon-operator.username" (dict "context" . "name" "controller") }}
{{- end }}

{{- define "anon-operator.apiUsername" -}}
{{- include "anon-operator.username" (dict "context" . "name" "api") }}
{{- end }}

{{- define "anon-operator.validatorUsername" -}}
{{- include "anon-operator.username" (dict "context" . "name" "validator") }}
{{- end }}

{{- /* A CEL list of user names, without repetitions. */}}
{{- define "anon-operator.celUsers" -}}
[{{ range $index, $user := uniq . }}{{ if $index }}, {{ end }}'{{ $user }}'{{ end }}]
{{- end }}

{{- /* The binding of a policy: it denies, in every watched namespace, and in the operator's own. */}}
{{- define "anon-operator.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "anon-operator.labels" .context | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: {{ default "[Deny]" .actions }}
  {{- with .context.Values.watchNamespaces }}
  matchResources:
    namespaceSelector:
      matchExpressions:
        - key: kubernetes.io/metadata.name
          operator: In
          values: {{ append . $.context.Release.Namespace | uniq | toJson }}
  {{- end }}
{{- end }}

{{- define "anon-operator.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "anon-operator.publicUrl" -}}
{{- if .Values.publicUrl }}
{{- .Values.publicUrl | trimSuffix "/" }}
{{- else }}
{{- printf "%s://%s.%s.svc:8080" (include "anon-operator.scheme" .) (include "anon-operator.fullname" .) .Release.Namespace }}
{{- end }}
{{- end }}

{{- define "anon-operator.scheme" -}}
{{- .Values.tls.enabled | ternary "https" "http" }}
{{- end }}

{{- /* The Secret with the certificate of port 8080. */}}
{{- define "anon-operator.tlsSecret" -}}
{{- .Values.tls.secretName | default (printf "%s-tls" (include "anon-operator.fullname" .)) }}
{{- end }}

{{- /* The DNS names of the certificate, as a JSON list. */}}
{{- define "anon-operator.dnsNames" -}}
{{- $names := list }}
{{- $fullname := include "anon-operator.fullname" . }}
{{- range $service := list $fullname (printf "%s-validator" $fullname) }}
{{- range $suffix := list "svc" "svc.cluster.local" }}
{{- $names = append $names (printf "%s.%s.%s" $service $.Release.Namespace $suffix) }}
{{- end }}
{{- end }}
{{- concat $names .Values.tls.dnsNames | uniq | toJson }}
{{- end }}

{{- /*
The paths of port 8080 that may be public, each with the Service that serves it. Validation and the
endpoints for gateways trust their callers and are not among them: docs/operations.md.
*/}}
{{- define "anon-operator.publicPaths" -}}
{{- $fullname := include "anon-operator.fullname" . }}
{{- $validator := printf "%s-validator" $fullname }}
- {path: /userPools, type: Prefix, service: {{ $validator }}}
- {path: /v1/clients, type: Prefix, service: {{ $validator }}}
- {path: /org, type: Prefix, service: {{ $fullname }}}
- {path: /link/url, type: Exact, service: {{ $fullname }}}
- {path: /openapi.json, type: Exact, service: {{ $fullname }}}
{{- end }}
