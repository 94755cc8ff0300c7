{{/* The NodePools of a release: spot first, on-demand behind it. */}}
{{- define "darkroom.pools" -}}
{{- $provisioner := .Values.karpenter.provisioner -}}
{{- $pools := list -}}
{{- if $provisioner.capacityType.spot -}}
{{/* A pod that may not be disrupted is left running until the node's own period is over but for the pod's. As long as the
pod's, it gets its SIGTERM as soon as the interruption is known, and ends within the two minutes of notice. */}}
{{- $pools = append $pools (dict "capacityType" "spot" "weight" 100
  "terminationGracePeriod" (printf "%ss" (include "darkroom.gracePeriod" .)) "limits" $provisioner.resourceLimits) -}}
{{- end -}}
{{- if $provisioner.capacityType.onDemand -}}
{{- $pools = append $pools (dict "capacityType" "on-demand" "weight" 10
  "terminationGracePeriod" $provisioner.disruption.terminationGracePeriod
  "limits" ($provisioner.onDemandResourceLimits | default $provisioner.resourceLimits)) -}}
{{- end -}}
{{- dict "pools" $pools | toYaml -}}
{{- end }}
