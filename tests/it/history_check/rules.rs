//! What must hold of every history: a file per kind of promise.

pub mod access;
pub mod cursors;
pub mod ends;
pub mod logs;
pub mod marks;
pub mod order;
pub mod pages;
pub mod seen;
