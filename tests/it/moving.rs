//! Moving everything: exports made while people chat, imports that are cut off and damaged, and the original's database.

mod adoption;
mod damage;
mod fixture;
mod roundtrip;
mod stores;
mod verify;
