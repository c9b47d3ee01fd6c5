;; A filter that returns at once from the callbacks that Envoy makes for a WebSocket: what any module
;; costs. It has those that wsbalancer has, and calls nothing.
(module
  (memory (export "memory") 1)
  ;; Where Envoy writes what it passes. Nobody reads it, so it may be the same place each time.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) i32.const 1024)
  (func (export "_initialize"))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_context_create") (param $context i32) (param $parent i32))
  (func (export "proxy_on_vm_start") (param $context i32) (param $size i32) (result i32) i32.const 1)
  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32) i32.const 1)
  ;; 0 is Action::Continue.
  (func (export "proxy_on_request_headers")
    (param $context i32) (param $fields i32) (param $is_whole i32) (result i32) i32.const 0)
  (func (export "proxy_on_response_headers")
    (param $context i32) (param $fields i32) (param $is_whole i32) (result i32) i32.const 0)
  (func (export "proxy_on_delete") (param $context i32)))
