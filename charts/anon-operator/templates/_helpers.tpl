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
{{- end }}

{{- define "anon-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "anon-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The roles of the binary that the Deployment runs. */}}
{{- define "anon-operator.roles" -}}
controller,api,validator
{{- end }}

{{- /*
User names as the API server sees them, which the admission policies compare with. There is one for
each role of the binary, so that the policies allow each role only what it writes. With a single
Deployment they are all the same account.
*/}}
{{- define "anon-operator.controllerUsername" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "anon-operator.serviceAccountName" .) }}
{{- end }}

{{- define "anon-operator.apiUsername" -}}
{{- include "anon-operator.controllerUsername" . }}
{{- end }}

{{- define "anon-operator.validatorUsername" -}}
{{- include "anon-operator.controllerUsername" . }}
{{- end }}

{{- /* A CEL list of user names, without repetitions. */}}
{{- define "anon-operator.celUsers" -}}
[{{ range $index, $user := uniq . }}{{ if $index }}, {{ end }}'{{ $user }}'{{ end }}]
{{- end }}

{{- /* The binding of a policy: it denies, in every namespace. */}}
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
{{- printf "http://%s.%s.svc:8080" (include "anon-operator.fullname" .) .Release.Namespace }}
{{- end }}
{{- end }}
