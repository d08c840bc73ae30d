{{- /*
The Deployments: one for each role, or one for all of them. A component is a dict with its name, the
roles of its process, the names of its objects and its labels, and its values: those for every
Deployment, overridden by its own. Of a map, single entries are overridden.
*/}}
{{- define "anon-operator.components" -}}
{{- $components := list }}
{{- range $name := .Values.allInOne | ternary (list "operator") (list "controller" "api" "validator") }}
{{- $values := deepCopy $.Values }}
{{- range $key, $value := default dict (get $.Values $name) }}
{{- if and (kindIs "map" $value) (kindIs "map" (get $values $key)) }}
{{- range $entry, $inner := $value }}
{{- $_ := set (get $values $key) $entry $inner }}
{{- end }}
{{- else }}
{{- $_ := set $values $key $value }}
{{- end }}
{{- end }}
{{- $fullname := include "anon-operator.fullname" $ }}
{{- $roles := get (dict "operator" "controller,api,validator" "api" "api,validator") $name | default $name }}
{{- $components = append $components (dict
      "name" $name
      "roles" $roles
      "fullname" (eq $name "operator" | ternary $fullname (printf "%s-%s" $fullname $name))
      "account" (include "anon-operator.account" (dict "context" $ "name" $name))
      "serves" (ne $name "controller")
      "values" (omit $values "controller" "api" "validator")) }}
{{- end }}
{{- toYaml $components }}
{{- end }}

{{- /* The labels by which Pods of a component are selected. Those of all in one are the labels of the
former single Deployment: a selector cannot be changed. */}}
{{- define "anon-operator.componentSelector" -}}
{{ include "anon-operator.selectorLabels" .context }}
{{- if ne .name "operator" }}
app.kubernetes.io/component: {{ .name }}
{{- end }}
{{- end }}

{{- define "anon-operator.componentLabels" -}}
{{ include "anon-operator.labels" .context }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- /* The name of a component's ServiceAccount. */}}
{{- define "anon-operator.account" -}}
{{- $values := .context.Values }}
{{- $fullname := include "anon-operator.fullname" .context }}
{{- $field := "serviceAccount.name" }}
{{- $name := $values.serviceAccount.name }}
{{- $default := $fullname }}
{{- if ne .name "operator" }}
{{- $field = printf "%s.serviceAccount.name" .name }}
{{- $name = dig "serviceAccount" "name" "" (default dict (get $values .name)) }}
{{- $default = printf "%s-%s" $fullname .name }}
{{- end }}
{{- if and (not $values.serviceAccount.create) (not $name) }}
{{- fail (printf "%s is required, because serviceAccount.create is false: the name of an existing ServiceAccount" $field) }}
{{- end }}
{{- $name | default $default }}
{{- end }}

{{- /* Flags that every process gets. Those of the other roles have no effect. */}}
{{- define "anon-operator.flags" -}}
- --listen=0.0.0.0:8080
- --admin-listen=0.0.0.0:9090
- {{ printf "--public-url=%s" (include "anon-operator.publicUrl" .) | quote }}
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
- --orphan-grace={{ .Values.orphanGrace }}
- --idle-timeout={{ .Values.idleTimeout }}
- --drain-timeout={{ .Values.shutdown.drainSeconds }}s
- --token-cache-size={{ .Values.tokenCacheSize }}
{{- if .Values.tls.enabled }}
- --tls-cert=/etc/anon-operator/tls/tls.crt
- --tls-key=/etc/anon-operator/tls/tls.key
{{- end }}
{{- if .Values.api.allowSignUp }}
- --allow-sign-up
{{- end }}
{{- with .Values.api.trustedProxyHops }}
- --trusted-proxy-hops={{ . }}
{{- end }}
{{- range .Values.api.allowedOrigins }}
- {{ printf "--api-allowed-origin=%s" . | quote }}
{{- end }}
{{- include "anon-operator.webhookFlags" . }}
{{- with .Values.api.linkUrl }}
- {{ printf "--link-url=%s" . | quote }}
{{- end }}
- --gateway-accepts={{ join "," .Values.gateways.accept }}
{{- range .Values.tokenReview.clients }}
- --token-review-client={{ . }}
{{- end }}
{{- range .Values.remoteKeySets.hosts }}
- {{ printf "--fetch-host=%s" . | quote }}
{{- end }}
{{- range .Values.remoteKeySets.allowFrom }}
- --allow-fetch-from={{ . }}
{{- end }}
{{- range .Values.remoteKeySets.denyFrom }}
- --deny-fetch-from={{ . }}
{{- end }}
- --max-jwks-age={{ .Values.remoteKeySets.maxAge }}
- --log-format={{ .Values.log.format }}
- {{ printf "--log-level=%s" .Values.log.level | quote }}
{{- end }}
