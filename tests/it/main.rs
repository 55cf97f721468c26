//! The tests of the whole: the real binary as a child process, real HTTP clients and real sockets.
//!
//! One file per subject; `harness` starts servers, signs people in and waits. A test's name says what holds.

mod access;
mod accounts;
mod backup;
mod bounds;
mod chats;
mod check_config;
mod config;
mod cors;
mod credentials;
mod disk;
mod drain;
mod durability;
mod frames_prop;
mod harness;
mod history;
mod http;
mod load_tool;
mod log;
mod logs;
mod members;
mod messages;
mod operators;
mod original;
mod readers;
mod readme;
mod refresh;
mod roles;
mod routes;
mod service;
mod slow;
mod sockets;
mod start;
mod store;
mod storm;
mod throttling;
mod tidy;
mod tokens;
mod wire;
