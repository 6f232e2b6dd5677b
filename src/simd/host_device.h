// Functions that are compiled for host and device alike: formats are written once.
#pragma once

#if defined(__CUDACC__)
#define STEELYARD_HD __host__ __device__
#else
#define STEELYARD_HD
#endif
