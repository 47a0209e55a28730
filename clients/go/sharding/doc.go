// Package sharding computes where a bot lives: from the bytes of a routing table, a bot's id and four of its
// properties, the pools to ask, best first. Nothing else is consulted: no clock, no random number, no service.
//
// It is an independent implementation of docs/placement.md of botshard and is held to the same golden vectors. It looks
// up; it does not plan.
//
// Fetch the table (object table/current.json) however you like, decode it with [DecodeTable], and keep the value for as
// long as no newer table is accepted: a table that is refused, or whose epoch is smaller, leaves the old one in force.
package sharding
