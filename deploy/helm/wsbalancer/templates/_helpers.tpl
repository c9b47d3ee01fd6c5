{{/* The objects' name. */}}
{{- define "wsbalancer.name" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 45 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "wsbalancer.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "wsbalancer.labels" -}}
{{ include "wsbalancer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Of `ip:port` or a URL: host, port and whether it is on TLS, as JSON. */}}
{{- define "wsbalancer.endpoint" -}}
{{- $scheme := "http" -}}
{{- $rest := . -}}
{{- if contains "://" . -}}
{{- $scheme = regexFind "^[a-z]+" . -}}
{{- $rest = regexReplaceAll "^[a-z]+://" . "" -}}
{{- end -}}
{{- $authority := regexFind "^[^/?#]+" $rest -}}
{{- $tls := has $scheme (list "https" "wss") -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" | default (ternary "443" "80" $tls) -}}
{{- $host := regexReplaceAll ":[0-9]+$" $authority "" | trimPrefix "[" | trimSuffix "]" -}}
{{- $is_address := regexMatch "^([0-9.]+|.*:.*)$" $host -}}
{{- dict "host" $host "port" (int $port) "tls" $tls "named" (not $is_address) | toJson -}}
{{- end -}}

{{/* Milliseconds of a number of seconds, or of a text with its unit. */}}
{{- define "wsbalancer.millis" -}}
{{- if kindIs "string" . -}}
{{- $factor := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+$" .) -}}
{{- mul (regexFind "^[0-9]+" . | int64) $factor -}}
{{- else -}}
{{- round (mulf . 1000) 0 | int64 -}}
{{- end -}}
{{- end -}}

{{/* As Envoy takes it: in seconds alone. */}}
{{- define "wsbalancer.seconds" -}}
{{- $millis := include "wsbalancer.millis" . | int64 -}}
{{- if mod $millis 1000 -}}{{ divf $millis 1000 }}s{{- else -}}{{ div $millis 1000 }}s{{- end -}}
{{- end -}}

{{/* As manifests have it: without a fraction. */}}
{{- define "wsbalancer.units" -}}
{{- $millis := include "wsbalancer.millis" . | int64 -}}
{{- if mod $millis 1000 -}}{{ $millis }}ms{{- else -}}{{ div $millis 1000 }}s{{- end -}}
{{- end -}}

{{/*
What follows from `config`, as JSON: the same as `wsbalancer render` makes of the same file.
*/}}
{{- define "wsbalancer.facts" -}}
{{- $config := .Values.config -}}
{{- $services := list -}}
{{- $named := dict -}}
{{- range $config.services -}}
{{- $endpoint := include "wsbalancer.endpoint" . | fromJson -}}
{{- $services = append $services $endpoint -}}
{{- if and $endpoint.named (not $named) -}}{{- $named = $endpoint -}}{{- end -}}
{{- end -}}
{{- $pods := list -}}
{{- range $config.pods -}}
{{- $pods = append $pods (include "wsbalancer.endpoint" . | fromJson) -}}
{{- end -}}
{{- $labels := splitList "." (default "" $named.host) -}}
{{- $name := default "websockets" (first $labels) -}}
{{- $namespace := .Release.Namespace -}}
{{- if gt (len $labels) 1 -}}{{- $namespace = index $labels 1 -}}{{- end -}}
{{- $all := concat $pods $services -}}
{{- $tls := get (default dict (first $all)) "tls" -}}
{{- range $all -}}
{{- if ne .tls $tls -}}{{- fail "config.services: has some on TLS and some not" -}}{{- end -}}
{{- end -}}
{{- $cluster := default $name $config.name -}}
{{- $options := omit $config "name" "host" "pods" "services" "balancerMetricPath" "tlsVerify" "dialTimeout" "readTimeout" "writeTimeout" -}}
{{- if and (hasKey $options "cacheTTL") (not (kindIs "string" $options.cacheTTL)) -}}
{{- $_ := set $options "cacheTTL" (printf "%vs" $options.cacheTTL) -}}
{{- end -}}
{{- dict
  "cluster" $cluster
  "host" (default (printf "%s.example.com" $cluster) $config.host)
  "service" (dict
    "name" $name
    "namespace" $namespace
    "host" (printf "%s.%s.svc.cluster.local" $name $namespace)
    "port" (get (default dict (first $services)) "port"))
  "pods" (default $services $pods)
  "tls" $tls
  "tlsName" (default "" $named.host)
  "tlsVerify" (ne (toString $config.tlsVerify) "false")
  "dialTimeout" (default "1s" $config.dialTimeout)
  "readTimeout" (default "30s" $config.readTimeout)
  "statusPath" (default "/balancer-metrics" $config.balancerMetricPath)
  "statusAddress" (ternary "0.0.0.0" "127.0.0.1" .Values.podMonitor.enabled)
  "options" $options
  | toJson -}}
{{- end -}}

{{/* The cookie that keeps sessions on their pods, if they are kept by one. */}}
{{- define "wsbalancer.cookie" -}}
{{- $sessions := default dict .Values.config.sessions -}}
{{- get (default dict $sessions.keptBy) "cookie" -}}
{{- end -}}

{{/* The filter's options, a line for each. */}}
{{- define "wsbalancer.options" -}}
{{- range $name, $value := . }}
{{ $name }}: {{ $value | toJson }}
{{- end }}
{{- end -}}

{{/* Where the gateway's pods are. */}}
{{- define "wsbalancer.gatewayNamespace" -}}
{{- if eq .Values.target "istio" -}}
{{ .Values.istio.namespace }}
{{- else if eq .Values.target "envoyGateway" -}}
{{ .Values.envoyGateway.systemNamespace }}
{{- else -}}
{{ .Release.Namespace }}
{{- end -}}
{{- end -}}

{{/* The labels of Istio's gateway. As a default in values.yaml, others would be added to them. */}}
{{- define "wsbalancer.istioSelector" -}}
{{- default (dict "istio" "ingressgateway") .Values.istio.selector | toJson -}}
{{- end -}}

{{/* Their labels. */}}
{{- define "wsbalancer.gatewayLabels" -}}
{{- if eq .Values.target "envoyGateway" -}}
app.kubernetes.io/component: proxy
app.kubernetes.io/managed-by: envoy-gateway
{{- else if eq .Values.target "envoy" -}}
{{ include "wsbalancer.selector" . }}
{{- else if .Values.istio.gateway -}}
gateway.networking.k8s.io/gateway-name: {{ .Values.istio.gateway }}
{{- else -}}
{{ include "wsbalancer.istioSelector" . | fromJson | toYaml }}
{{- end -}}
{{- end -}}

{{/* Whether there is a status. */}}
{{- define "wsbalancer.hasStatus" -}}
{{- if and .Values.status.enabled (or (ne .Values.target "envoyGateway") .Values.envoyGateway.statusConfigMap) -}}
yes
{{- end -}}
{{- end -}}

{{/* The choice of a pod: by the filter's header. */}}
{{- define "wsbalancer.policy" -}}
load_balancing_policy:
  policies:
    - typed_extension_config:
        name: envoy.load_balancing_policies.override_host
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
          override_host_sources:
            - header: x-gateway-destination-endpoint
          fallback_policy:
            policies:
              - typed_extension_config:
                  name: envoy.load_balancing_policies.least_request
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
{{- end -}}

{{/* Only the filter says where a request goes: what clients send of the header is taken away first. */}}
{{- define "wsbalancer.headerRemoval" -}}
early_header_mutation_extensions:
  - name: envoy.http.early_header_mutation.header_mutation
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
      mutations:
        - remove: x-gateway-destination-endpoint
{{- end -}}

{{/* The filter from a file: `name`, `vmId`, `file`, and what it is configured with. */}}
{{- define "wsbalancer.filter" -}}
"@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
config:
  name: {{ .name }}
  failure_policy: FAIL_RELOAD
  vm_config:
    vm_id: {{ .vmId }}
    runtime: envoy.wasm.runtime.v8
    code:
      local: { filename: {{ .file }} }
  configuration:
    "@type": type.googleapis.com/google.protobuf.Struct
    value:
      {{- .value | trim | nindent 6 }}
{{- end -}}

{{/* The listener of the status: `name`, `facts`, and the filter as a list item. */}}
{{- define "wsbalancer.statusListener" -}}
name: {{ .name }}
address:
  socket_address: { address: {{ .facts.statusAddress }}, port_value: 9902 }
filter_chains:
  - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {{ .name }}
          http_filters:
            {{- .filter | trim | nindent 12 }}
            - name: envoy.filters.http.router
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
              - name: status
                domains: ["*"]
                routes:
                  - match: { prefix: / }
                    direct_response: { status: 404 }
{{- end -}}

{{/* The filter of the status from a file, as a list item: `vmId`, `file`, `facts`. */}}
{{- define "wsbalancer.statusFilter" -}}
{{- $value := printf "status: { path: %s }" .facts.statusPath -}}
- name: wsbalancer
  typed_config:
    {{- include "wsbalancer.filter" (dict "name" "wsbalancer_status" "vmId" .vmId "file" .file "value" $value) | nindent 4 }}
{{- end -}}
