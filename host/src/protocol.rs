//! One module for each native protocol, with the same file names in each.

pub mod postgres;
