{{- /*
The permissions of each role of the binary: `rules` in the cluster, or in each watched namespace; and
`homeRules` in the operator's own namespace. The operator writes no Namespaces (except for sign-ups,
if they are enabled) and no roles, and adds no finalizers. The admission policies in policies/ limit
what RBAC cannot select.

Every replica, whatever its roles, has what the validator has: it keeps an index of the custom
resources.

A Role can allow `get` of its own Namespace, but nothing else that is cluster-scoped.
*/}}

{{- define "anon-operator.rules.validator" -}}
- apiGroups: [anon.dev]
  resources: [organizations, members, userpools, sdkclients, revocations]
  verbs: [list, watch]
# One namespace is one organization. While it is being deleted, nothing in it is valid.
- apiGroups: [""]
  resources: [namespaces]
  verbs: {{ .Values.watchNamespaces | empty | ternary "[get, list]" "[get]" }}
{{- end }}

{{- define "anon-operator.rules.api" -}}
# `revoke` is what policy {{ include "anon-operator.fullname" . }}-revocations requires of the author of a Revocation.
- apiGroups: [anon.dev]
  resources: [revocations]
  verbs: [list, watch, create]
- apiGroups: [anon.dev]
  resources: [members, userpools, sdkclients]
  verbs: [revoke]
# Of these, the API returns only those that are about objects of the caller's organization.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list]
# The REST API writes for its callers after it has checked their role, and only in the namespace
# of the caller's organization.
- apiGroups: [anon.dev]
  resources: [organizations, members, userpools, sdkclients]
  verbs: [get, list, watch, create, patch, delete]
# Sessions. Policy {{ include "anon-operator.fullname" . }}-status denies every other field.
- apiGroups: [anon.dev]
  resources: [members/status]
  verbs: [patch]
# As for the validator. The uid of a namespace is part of the names of its members' password
# hashes.
- apiGroups: [""]
  resources: [namespaces]
  verbs: {{ .Values.watchNamespaces | empty | ternary "[get, list]" "[get]" }}
{{- if .Values.api.allowSignUp }}
# A sign-up creates a namespace. Policy {{ include "anon-operator.fullname" . }}-sign-up limits these verbs to namespaces
# whose sign-up is in progress.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [create, patch]
{{- end }}
{{- if not .Values.watchNamespaces }}
# A member can log in with the token of a Kubernetes identity: the API server tells whose it is,
# and that it was issued for this operator.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
{{- end }}
{{- end }}

{{- define "anon-operator.rules.controller" -}}
- apiGroups: [anon.dev]
  resources: [organizations, members, userpools, sdkclients, revocations]
  verbs: [get, list, watch]
# A Revocation is deleted when its expiresAt has passed.
- apiGroups: [anon.dev]
  resources: [revocations]
  verbs: [delete]
# Policy {{ include "anon-operator.fullname" . }}-status denies this to everybody else. `get` shows no more than the object
# does; `kubectl --subresource=status`, with which an administrator who impersonates this account
# repairs a status, reads it first.
- apiGroups: [anon.dev]
  resources: [organizations/status, members/status, userpools/status, sdkclients/status, revocations/status]
  verbs: [get, patch, update]
# The controller references of children (ConfigMap of a UserPool, RoleBinding of a Member) set
# blockOwnerDeletion. Where the admission plugin OwnerReferencesPermissionEnforcement is enabled
# (OpenShift), that requires update on the owner's finalizers subresource. The API server does not
# serve this subresource for custom resources, so it allows the reference and no write. The plugin
# also requires delete on the child, which is granted below.
- apiGroups: [anon.dev]
  resources: [members/finalizers, userpools/finalizers]
  verbs: [update]
# One namespace is one organization, and has an id even without an Organization object.
- apiGroups: [""]
  resources: [namespaces]
  verbs: {{ .Values.watchNamespaces | empty | ternary "[get, list]" "[get]" }}
{{- if .Values.api.allowSignUp }}
# The leader completes or deletes the namespace of an interrupted sign-up, within the same policy.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [patch, delete]
{{- end }}
# The public key set of each pool, <pool>-jwks, for workloads to mount. Forced server-side apply
# needs create and patch. Policy {{ include "anon-operator.fullname" . }}-config-maps limits the writes.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Delivery Secrets of API keys are in the namespaces of the organizations, and any namespace can
# become one, so this is cluster-wide: RBAC cannot select by label or type.
# Policy {{ include "anon-operator.fullname" . }}-secrets limits the writes to Opaque Secrets that are the operator's.
# Nothing limits the reads but the operator itself: its watches select its own labels and
# `anon.dev/use`, by which the author of a password, a key set or a CA consents to its use. There
# is no patch: forced apply is never used on key material.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, delete]
# A Member that specifies a Kubernetes identity gets a RoleBinding in its own namespace. `bind`
# allows the operator to refer to these three roles without holding their permissions, and to no
# other role. Policy {{ include "anon-operator.fullname" . }}-role-bindings limits names, subjects, and whose RoleBindings
# it changes.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: [anon-admin, anon-member, anon-readonly]
  verbs: [bind]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "anon-operator.homeRules.validator" -}}
# In the operator's own namespace, each replica that authenticates has a Lease.
# Policy {{ include "anon-operator.fullname" . }}-validator-lease lets each replica write only its own.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create, patch, delete]
{{- end }}

{{- define "anon-operator.homeRules.api" -}}
# The API reads signing keys and password hashes, stores new hashes and the records of sign-ups, and
# reads what the other replicas report in their Leases.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, create, update, delete]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list, watch, create, patch, delete]
{{- end }}

{{- define "anon-operator.homeRules.controller" -}}
# The leader stores the signing keys, and has a Lease of its own.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, delete]
{{- if .Values.admissionPolicies.install }}
# Whether the Pod of a silent validator still exists. Without the policies, a Lease may be that of a
# process that is no Pod; it is then waited for.
- apiGroups: [""]
  resources: [pods]
  verbs: [get]
{{- end }}
{{- end }}
