//! The Sockets tables of the contract, row by row, over real sockets.

mod handshake;
mod lifetime;
mod notices;
mod one_room;
mod posting;
mod subscribing;
mod violations;
