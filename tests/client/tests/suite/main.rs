//! The client, against small real servers.

mod library;
mod servers;
