//! The test server, seen from outside: real sockets, and clients of other make.

mod control;
mod counting;
mod metric;
mod refusing;
mod support;
mod websocket;
