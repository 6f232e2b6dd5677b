// The namespace of what is compiled once per instruction set (cmake/isa.cmake): all of this folder but the registry.
//
// STEELYARD_ISA is its name: scalar, avx2 or avx512. It is inline, so that sources compiled once (tests, device code)
// write `steelyard::Q4_K` and mean the scalar one; nothing of it may appear in an interface between sets.
#pragma once

#ifndef STEELYARD_ISA
#define STEELYARD_ISA scalar
#endif

#define STEELYARD_STRING_(x) #x
#define STEELYARD_STRING(x) STEELYARD_STRING_(x)
