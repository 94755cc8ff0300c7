{{/* What several templates say: names, labels, images, and figures that follow from values. */}}

{{- define "darkroom.runtime" -}}
{{ .Values.global.runtime | default .Release.Name }}
{{- end }}

{{- define "darkroom.serviceAccount" -}}
{{ .Values.runtime.serviceAccountName | default .Release.Name }}
{{- end }}

{{/* Name of an object that belongs to no namespace: the same release may be in several. No namespace has a dot in it, so
that no two names are one; at its beginning, `system-` is Kubernetes' own. */}}
{{- define "darkroom.clusterWide" -}}
{{ .release.Name }}-{{ .name }}.{{ .release.Namespace }}
{{- end }}

{{/* Labels by which pods are selected; these never change during the life of a release. */}}
{{- define "darkroom.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of pods: none that changes with the chart's version, which would replace them. */}}
{{- define "darkroom.podLabels" -}}
{{- $own := include "darkroom.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" .Values.global.stackName -}}
{{- merge (dict) $own .Values.runtime.labels | toYaml }}
{{- end }}

{{- define "darkroom.labels" -}}
{{- $own := include "darkroom.podLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) -}}
{{- toYaml $own }}
{{- end }}

{{/* Reference of an image: its digest, else its tag, else the repository as it is. */}}
{{- define "darkroom.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else if .tag -}}
{{ .repository }}:{{ .tag }}
{{- else -}}
{{ .repository }}
{{- end -}}
{{- end }}

{{/* The image of a canary: what it sets, else what the stable one has; but never another image's digest. */}}
{{- define "darkroom.canaryImage" -}}
{{- $inherited := ternary (omit .stable "digest") .stable (or .canary.tag .canary.repository | empty | not) -}}
{{- include "darkroom.image" (mustMergeOverwrite (dict) $inherited .canary) -}}
{{- end }}

{{- define "darkroom.runtimePort" -}}
{{ .Values.runtime.inferenceApi.port | default (get (dict "sdwebui" 7860 "comfyui" 8188 "invokeai" 9090 "http" 8000 "openai" 8000) .Values.runtime.type) }}
{{- end }}

{{/* The agent's port: never the runtime's, since all containers of a pod share their ports. */}}
{{- define "darkroom.healthPort" -}}
{{- $port := .Values.runtime.queueAgent.healthPort | int -}}
{{- if eq $port (include "darkroom.runtimePort" . | int) -}}
{{- printf "runtime.queueAgent.healthPort: must not be %d, on which the runtime listens: set another" $port | fail -}}
{{- end -}}
{{ $port }}
{{- end }}

{{- define "darkroom.startupPath" -}}
{{ .Values.runtime.inferenceApi.startupProbe.path | default (get (dict "sdwebui" "/sdapi/v1/options" "comfyui" "/system_stats" "invokeai" "/api/v1/app/version" "http" "/health" "openai" "/health") .Values.runtime.type) }}
{{- end }}

{{/* The user of the agent's container, in no other image. */}}
{{- define "darkroom.agentUser" -}}
10002
{{- end }}

{{/* What the agent says to the runtime's liveness probe (RECYCLE_FILE). */}}
{{- define "darkroom.restartFolder" -}}
/run/darkroom
{{- end }}
{{- define "darkroom.restartFile" -}}
{{ include "darkroom.restartFolder" . }}/restart
{{- end }}

{{/* How the runtime's container is held: by `confinement`, and what is set over it. */}}
{{- define "darkroom.runtimeSecurity" -}}
{{- $server := .Values.runtime.inferenceApi -}}
{{- $base := dict -}}
{{- if eq $server.confinement "strict" -}}
{{- $base = dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "readOnlyRootFilesystem" true -}}
{{- end -}}
{{- mustMergeOverwrite $base $server.securityContext | toYaml -}}
{{- end }}

{{/* Folders that a read-only runtime may write to, but for those that `extraVolumeMounts` brings. */}}
{{- define "darkroom.writable" -}}
{{- $server := .Values.runtime.inferenceApi -}}
{{- $paths := list -}}
{{- if eq $server.confinement "strict" -}}
{{- $mounted := list $server.modelMountPath -}}
{{- range $server.extraVolumeMounts -}}
{{- $mounted = append $mounted .mountPath -}}
{{- end -}}
{{- $own := get (dict "sdwebui" (list "/var/lib/sdwebui") "comfyui" (list "/var/lib/comfyui")) .Values.runtime.type | default list -}}
{{- range concat (list "/tmp") $own $server.writablePaths | uniq -}}
{{- if not (has . $mounted) -}}
{{- $paths = append $paths . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "paths" $paths | toYaml -}}
{{- end }}

{{/* The models' volume and claim. Neither may be changed in the cluster, so another content has another name. What a
StorageClass provides keeps one name: its files are nowhere else, and would be gone with the old claim. */}}
{{- define "darkroom.modelsName" -}}
{{- $store := .Values.runtime.persistence -}}
{{- $name := printf "%s-models" .Release.Name -}}
{{- if $store.existingVolume -}}
{{ $name }}-{{ sha256sum $store.existingVolume | trunc 8 }}
{{- else if $store.s3.enabled -}}
{{- $content := dict "namespace" .Release.Namespace "bucket" $store.s3.modelBucket "prefix" $store.s3.prefix "region" .Values.global.awsRegion "accessModes" $store.accessModes "size" (toString $store.size) -}}
{{ $name }}-{{ toJson $content | sha256sum | trunc 8 }}
{{- else -}}
{{ $name }}
{{- end -}}
{{- end }}

{{/* Seconds from SIGTERM to SIGKILL: the agent finishes or hands back (10 s), and its runtime stops after it (5 s). */}}
{{- define "darkroom.gracePeriod" -}}
{{ add .Values.runtime.queueAgent.gracePeriodSeconds 15 }}
{{- end }}

{{/* The taints of the runtime's nodes, as tolerations. */}}
{{- define "darkroom.tolerations" -}}
- key: nvidia.com/gpu
  operator: Exists
  effect: NoSchedule
- key: runtime
  operator: Equal
  value: {{ .Release.Name | quote }}
  effect: NoSchedule
{{- with .Values.runtime.tolerations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Which tags find subnets or security groups: the given ones, else the one that discovery goes by. */}}
{{- define "darkroom.selectorTerms" -}}
- tags:
    {{- toYaml (.selector | default (dict "karpenter.sh/discovery" .cluster)) | nindent 4 }}
{{- end }}

{{/* An EBS volume as a block device. */}}
{{- define "darkroom.ebs" -}}
{{- if .snapshotID -}}
snapshotID: {{ .snapshotID }}
{{ with .volumeInitializationRate -}}
volumeInitializationRate: {{ . }}
{{ end -}}
{{ end -}}
volumeSize: {{ .volumeSize }}
volumeType: {{ .volumeType }}
{{ with .iops -}}
iops: {{ . }}
{{ end -}}
{{ with .throughput -}}
throughput: {{ . }}
{{ end -}}
{{ with .kmsKeyID -}}
kmsKeyID: {{ . }}
{{ end -}}
encrypted: {{ .encrypted }}
deleteOnTermination: {{ .deleteOnTermination }}
{{- end }}

{{/* A rule of what may go out: to a URL at an address, in the namespace that the name of a service says
(name.namespace.svc), or on the web. `port` is the one of a URL without any. */}}
{{- define "darkroom.egress" -}}
{{- $host := (urlParse .url).hostname -}}
{{- $parts := splitList "." $host -}}
- to:
  {{- if regexMatch "^[0-9.]+$" $host }}
  - ipBlock:
      cidr: {{ $host }}/32
  {{- else if or (lt (len $parts) 3) (eq (index $parts 2) "svc") }}
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ lt (len $parts) 2 | ternary .root.Release.Namespace (last (slice $parts 0 (min (len $parts) 2))) | quote }}
  {{- else }}
  {{- range .root.Values.networkPolicy.webCidrs }}
  - ipBlock:
      cidr: {{ . }}
  {{- end }}
  {{- end }}
  ports:
  - port: {{ regexFind "[0-9]+" (regexFind ":[0-9]+$" (urlParse .url).host) | default .port }}
{{- end }}
