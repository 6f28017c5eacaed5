//! Small filters in WebAssembly's text form, for what a well-behaved filter would not do.

use holdgate_host::{Filter, Gateway, Options};

/// What every guest has: the ABI's version, memory, an allocator that never frees, and the host calls that guests here make.
const FRAME: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $set_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $bytes (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_bytes (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick_every (param i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $share (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $queue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_done" (func $done (result i32)))
  (import "env" "proxy_grpc_close" (func $grpc (param i32) (result i32)))
  (import "env" "proxy_of_tomorrow" (func $unknown (result i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 4096))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (global.get $free) (local.get $size)))
    (local.get $at))
  ;; A map with :method GET, :path /check and :authority auth stands at 1024; names and values for headers at 2048.
  (data (i32.const 1024) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\04\00\00\00"
    ":method\00GET\00:path\00/check\00:authority\00auth\00")
  (data (i32.const 2048) "auth")
  (data (i32.const 2056) "x-guest")
  (data (i32.const 2064) "seen")
"#;

/// Length of the map in [`FRAME`].
pub(crate) const MAP: usize = 28 + 12 + 13 + 16;

/// A filter of the frame and these functions.
pub(crate) fn guest(functions: &str) -> Filter {
    let text = format!("(module {FRAME} {functions})");
    Filter::compile(&wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))).unwrap()
}

/// A gateway of one worker around it.
pub(crate) fn gateway(functions: &str) -> Gateway {
    Gateway::start(&guest(functions), Options { trace: true, ..Options::default() }).unwrap()
}

/// What was found wrong, as texts.
pub(crate) fn findings(gateway: &Gateway) -> Vec<String> {
    gateway.findings().iter().map(ToString::to_string).collect()
}
