{{/* The environment of both containers. Images of the reference and our own (local/runtimes) read the same under different
names; the runtime gets both. All of it stands in the pod's own template, so that a change rolls the pods. */}}

{{- define "darkroom.runtimeEnv" -}}
{{- $server := .Values.runtime.inferenceApi -}}
{{- $env := list -}}
{{- if eq .Values.runtime.type "sdwebui" -}}
{{- $env = append $env (dict "name" "API_ONLY" "value" "true") -}}
{{- if .Values.runtime.queueAgent.dynamicModel -}}
{{- $env = append $env (dict "name" "DYNAMIC_SD_MODEL" "value" "true") -}}
{{- else if $server.modelFilename -}}
{{- range $name := list "SD_MODEL_CHECKPOINT" "SDWEBUI_CHECKPOINT" -}}
{{- $env = append $env (dict "name" $name "value" $server.modelFilename) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $server.commandArguments -}}
{{- range $name := list "EXTRA_CMD_ARG" "RUNTIME_ARGS" -}}
{{- $env = append $env (dict "name" $name "value" $server.commandArguments) -}}
{{- end -}}
{{- end -}}
{{- with concat $env ($server.extraEnv | default list) -}}
env:
{{ toYaml . }}
{{- end -}}
{{- end }}

{{- define "darkroom.agentEnv" -}}
{{- $agent := .Values.runtime.queueAgent -}}
{{- $env := list
  (dict "name" "RUNTIME_NAME" "value" (include "darkroom.runtime" .))
  (dict "name" "RUNTIME_TYPE" "value" .Values.runtime.type)
  (dict "name" "API_BASE_URL" "value" (printf "http://127.0.0.1:%s" (include "darkroom.runtimePort" .)))
  (dict "name" "SQS_QUEUE_URL" "value" $agent.sqsQueueUrl)
  (dict "name" "SNS_TOPIC_ARN" "value" $agent.snsTopicArn)
  (dict "name" "S3_BUCKET" "value" $agent.s3Bucket)
  (dict "name" "AWS_REGION" "value" .Values.global.awsRegion)
  (dict "name" "GRACE_PERIOD_SECONDS" "value" ($agent.gracePeriodSeconds | toString))
  (dict "name" "PREFETCH" "value" ($agent.prefetch | toString))
  (dict "name" "SLOTS" "value" ($agent.slots | toString))
  (dict "name" "RECYCLE_BY" "value" $agent.recycle.by)
  (dict "name" "HEALTH_HOST" "value" "0.0.0.0")
  (dict "name" "HEALTH_PORT" "value" (include "darkroom.healthPort" .))
  (dict "name" "LOG_LEVEL" "value" $agent.logLevel)
  (dict "name" "POD_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name")))
  (dict "name" "POD_NAMESPACE" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.namespace")))
-}}
{{- with $agent.sqsDeadLetterUrl -}}
{{- $env = append $env (dict "name" "SQS_DLQ_URL" "value" .) -}}
{{- end -}}
{{- with $agent.webhookQueueUrl -}}
{{- $env = append $env (dict "name" "WEBHOOK_QUEUE_URL" "value" .) -}}
{{- end -}}
{{- with $agent.inputS3Buckets -}}
{{- $env = append $env (dict "name" "INPUT_S3_BUCKETS" "value" (join "," .)) -}}
{{- end -}}
{{- if $agent.dynamicModel -}}
{{- $env = append $env (dict "name" "DYNAMIC_SD_MODEL" "value" "true") -}}
{{- end -}}
{{- if $agent.callbackErrors -}}
{{- $env = append $env (dict "name" "CALLBACK_ERRORS" "value" "true") -}}
{{- end -}}
{{- with $agent.outputs -}}
{{- $env = append $env (dict "name" "OUTPUTS" "value" (toJson .)) -}}
{{- end -}}
{{- with $agent.gpuHourUsd -}}
{{- $env = append $env (dict "name" "GPU_HOUR_USD" "value" .) -}}
{{- end -}}
{{- with $agent.gpuInstanceType -}}
{{- $env = append $env (dict "name" "GPU_INSTANCE_TYPE" "value" .) -}}
{{- $env = append $env (dict "name" "GPU_CAPACITY" "value" $agent.gpuCapacity) -}}
{{- end -}}
{{- with $agent.warmUp -}}
{{- $env = append $env (dict "name" "WARMUP_REQUEST" "value" (toJson .)) -}}
{{- end -}}
{{- if eq $agent.recycle.by "probe" -}}
{{- $env = append $env (dict "name" "RECYCLE_FILE" "value" (include "darkroom.restartFile" .)) -}}
{{- end -}}
{{- with $agent.recycle.afterTasks -}}
{{- $env = append $env (dict "name" "RECYCLE_AFTER_TASKS" "value" (int64 . | toString)) -}}
{{- end -}}
{{- with $agent.recycle.aboveRssBytes -}}
{{- $env = append $env (dict "name" "RECYCLE_ABOVE_RSS_BYTES" "value" (int64 . | toString)) -}}
{{- end -}}
{{- if and $agent.xray.enabled $agent.xray.endpoint -}}
{{- $env = append $env (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" $agent.xray.endpoint) -}}
{{- end -}}
{{- with .Values.global.awsEndpoint -}}
{{- $env = append $env (dict "name" "AWS_ENDPOINT_URL" "value" .) -}}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" -}}
{{- $env = append $env (dict "name" $name "valueFrom" (dict "secretKeyRef" (dict "name" (printf "%s-emulator" $.Release.Name) "key" $name))) -}}
{{- end -}}
{{- end -}}
{{- concat $env ($agent.extraEnv | default list) | toYaml -}}
{{- end }}
