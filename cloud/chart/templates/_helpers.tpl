{{/* What several templates say: names, labels, images, and figures that follow from values. */}}

{{- define "darkroom.runtime" -}}
{{ .Values.global.runtime | default .Release.Name }}
{{- end }}

{{- define "darkroom.serviceAccount" -}}
{{ .Values.runtime.serviceAccountName | default .Release.Name }}
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
{{ .Values.runtime.inferenceApi.port | default (get (dict "sdwebui" 7860 "comfyui" 8188 "invokeai" 9090 "http" 8000) .Values.runtime.type) }}
{{- end }}

{{- define "darkroom.startupPath" -}}
{{ .Values.runtime.inferenceApi.startupProbe.path | default (get (dict "sdwebui" "/sdapi/v1/options" "comfyui" "/system_stats" "invokeai" "/api/v1/app/version" "http" "/health") .Values.runtime.type) }}
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
