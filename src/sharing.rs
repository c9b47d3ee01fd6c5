//! With whom a worker shares the pods of a service: the other workers of its process, and those of
//! other versions of the module.

mod attendance;
mod succession;

pub use self::attendance::{attend, sign_off};
pub use self::succession::{consult, is_still_current};
