{{/* The NodePools of a release: reserved capacity first, which is paid for anyway, then spot, on-demand behind it. */}}
{{- define "darkroom.pools" -}}
{{- $provisioner := .Values.karpenter.provisioner -}}
{{- $pools := list -}}
{{- if ne $provisioner.capacityType.reserved (.Values.karpenter.nodeTemplate.capacityReservations | empty | not) -}}
{{- fail "karpenter: provisioner.capacityType.reserved and nodeTemplate.capacityReservations go together: set reserved to true and name reservations, or neither" -}}
{{- end -}}
{{- if $provisioner.capacityType.reserved -}}
{{/* Before a Capacity Block ends, Karpenter gives ten minutes (karpenter.sh, "Utilizing On-Demand Capacity Reservations and
Capacity Blocks"): half of them to finish in, then SIGTERM. */}}
{{- $pools = append $pools (dict "capacityType" "reserved" "weight" 100
  "terminationGracePeriod" (printf "%ds" (max 300 (include "darkroom.gracePeriod" . | int)))
  "limits" $provisioner.resourceLimits) -}}
{{- end -}}
{{- if $provisioner.capacityType.spot -}}
{{/* A pod that may not be disrupted is left running until the node's own period is over but for the pod's. As long as the
pod's, it gets its SIGTERM as soon as the interruption is known, and ends within the two minutes of notice. */}}
{{- $pools = append $pools (dict "capacityType" "spot" "weight" 90
  "terminationGracePeriod" (printf "%ss" (include "darkroom.gracePeriod" .)) "limits" $provisioner.resourceLimits) -}}
{{- end -}}
{{- if $provisioner.capacityType.onDemand -}}
{{- $pools = append $pools (dict "capacityType" "on-demand" "weight" 10
  "terminationGracePeriod" $provisioner.disruption.terminationGracePeriod
  "limits" ($provisioner.onDemandResourceLimits | default $provisioner.resourceLimits)) -}}
{{- end -}}
{{- dict "pools" $pools | toYaml -}}
{{- end }}
