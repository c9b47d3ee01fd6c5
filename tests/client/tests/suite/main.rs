//! The client, as a library and as a program, against small real servers.

mod library;
mod program;
mod servers;
mod watch;
