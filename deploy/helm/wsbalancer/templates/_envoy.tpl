{{/* The configuration of an Envoy of its own: what `wsbalancer render --for kubernetes` makes. */}}
{{- define "wsbalancer.envoy" -}}
{{- $facts := include "wsbalancer.facts" . | fromJson -}}
{{- $file := ternary "/etc/wsbalancer/plugin.wasm" "/etc/envoy/wsbalancer.wasm" (hasKey .Values.module "image") -}}
{{- $value := printf "services: [{ cluster: %s }]\ndiscovery: { adminCluster: envoy_admin }%s" $facts.cluster (include "wsbalancer.options" $facts.options) -}}
{{- $named := "" -}}
{{- range $facts.pods -}}{{- if .named -}}{{- $named = default .host $named -}}{{- end -}}{{- end -}}
{{- $socketOptions := "" -}}
{{- with .Values.config.writeTimeout -}}
{{- $socketOptions = printf "socket_options: [{ level: 6, name: 18, int_value: %s }]" (include "wsbalancer.millis" .) -}}
{{- end -}}
{{- $cookie := include "wsbalancer.cookie" . -}}
admin:
  address:
    # The admin interface can shut Envoy down: never let it be reached from outside.
    socket_address: { address: 127.0.0.1, port_value: 9901 }
stats_config:
  stats_tags:
    - tag_name: service
      regex: "^wasmcustom\\.wsbalancer(\\.(.+))\\.[a-z_]+$"
static_resources:
  listeners:
    - name: websockets
      address:
        socket_address: { address: 0.0.0.0, port_value: 10000 }
      tcp_keepalive: { keepalive_time: 60, keepalive_interval: 10, keepalive_probes: 3 }
      {{- with $socketOptions }}
      {{ . }}
      {{- end }}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: websockets
                upgrade_configs:
                  - upgrade_type: websocket
                http2_protocol_options:
                  allow_connect: true
                stream_idle_timeout: 0s
                {{- include "wsbalancer.headerRemoval" . | nindent 16 }}
                http_filters:
                  - name: wsbalancer
                    typed_config:
                      {{- include "wsbalancer.filter" (dict "name" "wsbalancer" "vmId" "wsbalancer" "file" $file "value" $value) | nindent 22 }}
                  {{- with $cookie }}
                  # Keeps a session on its pod. It stands behind wsbalancer, which takes the cookie away
                  # from what opens a session.
                  - name: envoy.filters.http.stateful_session
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession
                      session_state:
                        name: envoy.http.stateful_session.cookie
                        typed_config:
                          "@type": type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState
                          cookie: { name: {{ . | quote }}, path: / }
                  {{- end }}
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: {{ $facts.cluster }}
                      domains: ["*"]
                      routes:
                        - match: { prefix: / }
                          route:
                            cluster: {{ $facts.cluster }}
                            # For the handshake, all attempts together.
                            timeout: {{ include "wsbalancer.seconds" $facts.readTimeout }}
                            idle_timeout: 0s
                            retry_policy:
                              retry_on: connect-failure,refused-stream
                              num_retries: 2
    {{- if include "wsbalancer.hasStatus" . }}
    {{- $filter := include "wsbalancer.statusFilter" (dict "vmId" "wsbalancer" "file" $file "facts" $facts) }}
    - {{ include "wsbalancer.statusListener" (dict "name" "status" "facts" $facts "filter" $filter) | indent 6 | trim }}
    {{- end }}
  clusters:
    - name: {{ $facts.cluster }}
      {{- if $named }}
      # Every address of the name is a pod.
      type: STRICT_DNS
      dns_lookup_family: V4_PREFERRED
      dns_refresh_rate: 1s
      {{- else }}
      type: STATIC
      {{- end }}
      connect_timeout: {{ include "wsbalancer.seconds" $facts.dialTimeout }}
      {{- include "wsbalancer.policy" . | nindent 6 }}
      circuit_breakers:
        thresholds:
          - max_connections: 100000
            max_pending_requests: 100000
            max_requests: 100000
            max_retries: 100000
      {{- if $facts.tls }}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          {{- with $named }}
          sni: {{ . }}
          {{- end }}
          {{- if $facts.tlsVerify }}
          common_tls_context:
            validation_context:
              trusted_ca: { filename: /etc/ssl/certs/ca-certificates.crt }
              {{- with $named }}
              match_typed_subject_alt_names: [{ san_type: DNS, matcher: { exact: {{ . }} } }]
              {{- end }}
          {{- end }}
      {{- end }}
      {{- with $socketOptions }}
      upstream_bind_config: { {{ . }} }
      {{- end }}
      upstream_connection_options:
        tcp_keepalive: { keepalive_time: 60, keepalive_interval: 10, keepalive_probes: 3 }
      load_assignment:
        cluster_name: {{ $facts.cluster }}
        endpoints:
          - lb_endpoints:
              {{- range $facts.pods }}
              - endpoint: { address: { socket_address: { address: {{ .host | quote }}, port_value: {{ .port }} } } }
              {{- end }}
    - name: envoy_admin
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: envoy_admin
        endpoints:
          - lb_endpoints:
              - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } }
{{- end -}}
