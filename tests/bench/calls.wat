;; A filter that makes the calls that wsbalancer makes for a WebSocket, and does nothing else: what
;; they cost, whatever is done with what they return. It chooses the pods in turn.
(module
  ;; A map, and where its fields are to be written.
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  ;; A map, a name, and where the value is to be written.
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  ;; A map, a name and a value.
  (import "env" "proxy_replace_header_map_value"
    (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  ;; A path, and where the value is to be written.
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  ;; A path and a value.
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  ;; A key, and where the value and its version are to be written.
  (import "env" "proxy_get_shared_data" (func $shared (param i32 i32 i32 i32 i32) (result i32)))
  ;; A key, a value and a version; 0 for any.
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  ;; A clock, how exactly, and where the time is to be written.
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "xds\00cluster_name") ;; 16 bytes
  (data (i32.const 32) "upstream\00address") ;; 16
  (data (i32.const 64) "x-gateway-destination-endpoint") ;; 30
  (data (i32.const 96) "wsbalancer") ;; 10
  (data (i32.const 112) ":status") ;; 7
  (data (i32.const 128) "traffic") ;; 7
  (data (i32.const 192) "127.0.0.1:10000 (estimate 100, runner-up 127.0.0.1:10001 with 101)") ;; 66
  ;; Eight addresses of 15 bytes, as the header has them.
  (data (i32.const 320) "@PODS@")
  ;; Where Envoy writes sizes, places and what it passes. Nobody reads it, so it may be the same place
  ;; each time.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) i32.const 4096)
  (func (export "_initialize"))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param $context i32) (param $parent i32))
  (func (export "proxy_on_vm_start") (param $context i32) (param $size i32) (result i32) i32.const 1)
  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32) i32.const 1)
  (func (export "proxy_on_request_headers")
    (param $context i32) (param $fields i32) (param $is_whole i32) (result i32)
    (drop (call $pairs (i32.const 0) (i32.const 1024) (i32.const 1028)))
    (drop (call $property (i32.const 0) (i32.const 16) (i32.const 1024) (i32.const 1028)))
    (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 1024)))
    (drop (call $shared
      (i32.const 128) (i32.const 7) (i32.const 1024) (i32.const 1028) (i32.const 1032)))
    ;; As large as the traffic of eight pods.
    (drop (call $set_shared
      (i32.const 128) (i32.const 7) (i32.const 8192) (i32.const 320) (i32.const 0)))
    (drop (call $replace (i32.const 0) (i32.const 64) (i32.const 30)
      (i32.add (i32.const 320)
        (i32.mul (i32.const 16) (i32.and (local.get $context) (i32.const 7))))
      (i32.const 15)))
    (drop (call $set_property (i32.const 96) (i32.const 10) (i32.const 192) (i32.const 66)))
    ;; 0 is Action::Continue.
    i32.const 0)
  (func (export "proxy_on_response_headers")
    (param $context i32) (param $fields i32) (param $is_whole i32) (result i32)
    (drop (call $value (i32.const 2) (i32.const 112) (i32.const 7) (i32.const 1024) (i32.const 1028)))
    (drop (call $property (i32.const 32) (i32.const 16) (i32.const 1024) (i32.const 1028)))
    i32.const 0)
  (func (export "proxy_on_delete") (param $context i32)))
