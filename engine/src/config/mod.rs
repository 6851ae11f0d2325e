//! The configuration language of `ecelerity.conf`, its scopes and fallback.

pub mod effective;
