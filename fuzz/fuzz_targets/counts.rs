#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (wsbalancer_fuzz::target("counts").run)(data));
