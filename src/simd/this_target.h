// The namespace from code that is compiled once per target (cmake/simd.cmake).
//
// STEELYARD_TARGET is a name from targets.def. Namespaces from that name are inline, so that sources compiled once
// (tests,
// device code) write `formats::Q4_K` and mean the scalar one. Nothing from it may appear in an interface between
// targets.
#pragma once

#ifndef STEELYARD_TARGET
#define STEELYARD_TARGET scalar
#endif

#define STEELYARD_STRING_(x) #x
#define STEELYARD_STRING(x) STEELYARD_STRING_(x)
