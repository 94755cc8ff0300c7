{{/*
The Deployments of a release and their share of its pods: the stable one, and beside it the canary. Both are scaled on the
same queue, so the share is one of messages per pod: of 100 messages and one pod for 10, a canary of 20 % gets one pod for
each 50, the stable one for each 12. A target is rounded down, so that a canary never makes a runtime slower.
*/}}
{{- define "darkroom.tracks" -}}
{{- $runtime := .Values.runtime -}}
{{- $percent := int $runtime.canary.percent -}}
{{- $rest := int (sub 100 $percent) -}}
{{- $scaling := $runtime.scaling -}}
{{- if gt (int $scaling.minReplicaCount) (int $scaling.maxReplicaCount) -}}
{{- fail "runtime.scaling.minReplicaCount must not exceed maxReplicaCount" -}}
{{- end -}}
{{- $slots := int $runtime.queueAgent.slots -}}
{{- if and (has $runtime.type (list "http" "openai")) (gt $slots 1) -}}
{{- printf "runtime.queueAgent.slots: must be 1 for %s, since type %s takes one run at a time; found %d: leave it out" (include "darkroom.runtime" .) $runtime.type $slots | fail -}}
{{- end -}}
{{- $gpu := "nvidia.com/gpu" -}}
{{- $amounts := $runtime.inferenceApi.resources -}}
{{- $limit := get ($amounts.limits | default dict) $gpu | toString -}}
{{- $request := get ($amounts.requests | default dict) $gpu | toString -}}
{{- if and (ne $request "") (ne $limit $request) -}}
{{- printf "runtime.inferenceApi.resources: %s must be the same among limits and requests, as Kubernetes wants of GPUs; found limits %q and requests %q: set both" $gpu $limit $request | fail -}}
{{- end -}}
{{- $stable := dict
  "name" .Release.Name
  "track" "stable"
  "inferenceImage" (include "darkroom.image" $runtime.inferenceApi.image)
  "agentImage" (include "darkroom.image" $runtime.queueAgent.image)
  "replicas" (int $runtime.replicas)
  "queueLength" (int $scaling.queueLength)
  "minReplicas" (int $scaling.minReplicaCount)
  "maxReplicas" (int $scaling.maxReplicaCount)
-}}
{{- $tracks := list $stable -}}
{{- if $percent -}}
{{- $pods := ternary (int $scaling.maxReplicaCount) (int $runtime.replicas) $scaling.enabled -}}
{{- if eq $pods 1 -}}
{{- printf "runtime.canary.percent: a canary's pods come out of those that there may be, so there must be two; found %s 1: set it to 2 or more, or percent to 0" (ternary "runtime.scaling.maxReplicaCount" "runtime.replicas" $scaling.enabled) | fail -}}
{{- end -}}
{{/* Of two pods or more each track has one; together they are never more than without a canary. */}}
{{- $replicas := ternary 0 (max 1 (min (sub $stable.replicas 1) (div (add (mul $stable.replicas $percent) 50) 100))) (eq $stable.replicas 0) -}}
{{- $most := max 1 (min (sub $stable.maxReplicas 1) (div (add (mul $stable.maxReplicas $percent) 50) 100)) -}}
{{/* The pods that are always there are the stable one's first, as far as it may have them. */}}
{{- $fewest := max (div (mul $stable.minReplicas $percent) 100) (sub $stable.minReplicas (sub $stable.maxReplicas $most)) -}}
{{- $canary := dict
  "name" (printf "%s-canary" .Release.Name)
  "track" "canary"
  "inferenceImage" (include "darkroom.canaryImage" (dict "canary" $runtime.canary.inferenceApi.image "stable" $runtime.inferenceApi.image))
  "agentImage" (include "darkroom.canaryImage" (dict "canary" $runtime.canary.queueAgent.image "stable" $runtime.queueAgent.image))
  "replicas" $replicas
  "queueLength" (max 1 (div (mul $stable.queueLength 100) $percent))
  "minReplicas" $fewest
  "maxReplicas" $most
-}}
{{- $_ := set $stable "queueLength" (max 1 (div (mul $stable.queueLength 100) $rest)) -}}
{{- $_ := set $stable "replicas" (max 0 (sub $stable.replicas $replicas)) -}}
{{- $_ := set $stable "minReplicas" (sub $stable.minReplicas $fewest) -}}
{{- $_ := set $stable "maxReplicas" (max 1 (sub $stable.maxReplicas $most)) -}}
{{- $tracks = append $tracks $canary -}}
{{- end -}}
{{- dict "tracks" $tracks | toYaml -}}
{{- end }}

{{/* The URL of the queue as KEDA reads it: with a path of two parts, account and name. Emulators write others, such as
`/queue/us-east-1/000000000000/name`, and take this one too. */}}
{{- define "darkroom.kedaQueueUrl" -}}
{{- $url := .Values.runtime.queueAgent.sqsQueueUrl -}}
{{- if .Values.global.awsEndpoint -}}
{{- $url = regexReplaceAll "^(https?://[^/]+)/(?:.*/)?([^/]+)/([^/]+)/*$" $url "${1}/${2}/${3}" -}}
{{- end -}}
{{ $url }}
{{- end }}

{{/* The autoscaler's behaviour: what is set, over the defaults that Kubernetes documents ("Default Behavior"). With any
`behavior`, the controller stabilizes each direction by its own window; with none, both by the highest of the last five
minutes (`stabilizeRecommendation` in pkg/controller/podautoscaler). A tolerance is a quantity, which in the API is a text. */}}
{{- define "darkroom.behavior" -}}
{{- $default := dict
  "scaleUp" (dict "stabilizationWindowSeconds" 0 "selectPolicy" "Max" "policies" (list
    (dict "type" "Pods" "value" 4 "periodSeconds" 15) (dict "type" "Percent" "value" 100 "periodSeconds" 15)))
  "scaleDown" (dict "stabilizationWindowSeconds" 300 "selectPolicy" "Max" "policies" (list
    (dict "type" "Percent" "value" 100 "periodSeconds" 15)))
-}}
{{- $behavior := dict -}}
{{- range $direction, $rules := mustMergeOverwrite $default . -}}
{{- $quantity := dict -}}
{{- if hasKey $rules "tolerance" -}}
{{- $_ := set $quantity "tolerance" (toString $rules.tolerance) -}}
{{- end -}}
{{- $_ := set $behavior $direction (merge $quantity $rules) -}}
{{- end -}}
{{- toYaml $behavior -}}
{{- end }}
