//! What the end-to-end tests stand on: real clients, real servers, and the project's own sources.
//!
//! Nothing here asserts. A helper returns what happened, the tests in `e2e/` say what should have.

pub mod azurite;
pub mod browser;
pub mod cases;
pub mod disk;
pub mod guests;
pub mod moto;
pub mod process;
pub mod proxy;
pub mod psql;
pub mod raw;
pub mod receiver;
pub mod scripts;
pub mod slack;
pub mod soak;
pub mod sources;
pub mod stage;
pub mod tools;
pub mod wire;
