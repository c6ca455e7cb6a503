//! What `chaperone demo` needs besides the product itself: a PostgreSQL, and a token issuer of Entra's shape.

pub mod issuer;
pub mod postgres;
