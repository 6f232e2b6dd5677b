# The emulator as a library, and how kernels are built for it.
if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(STATUS "the CUDA emulator runs on x86-64 Linux only: kernels are not tested")
  return()
endif()

file(GLOB emulator_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cc ${CMAKE_CURRENT_LIST_DIR}/ptx/*.cc)
list(FILTER emulator_sources EXCLUDE REGEX "_test\\.cc$")
add_library(cuda_emulator STATIC ${emulator_sources})
# Its headers take the place of the toolkit's.
target_include_directories(cuda_emulator BEFORE PUBLIC ${CMAKE_CURRENT_LIST_DIR}/include ${CMAKE_CURRENT_LIST_DIR}/..)
target_compile_definitions(cuda_emulator PUBLIC STEELYARD_CUDA_EMULATED)
target_compile_options(cuda_emulator PRIVATE -O2 PUBLIC -Wno-unknown-pragmas)
target_link_libraries(cuda_emulator PRIVATE steelyard_warnings)

# Kernels spend their time in fmaf: an instruction where the building machine has it, else a call.
include(CheckCXXSourceRuns)
check_cxx_source_runs("int main() { return !__builtin_cpu_supports(\"fma\"); }" STEELYARD_HOST_HAS_FMA)
if(STEELYARD_HOST_HAS_FMA)
  target_compile_options(cuda_emulator PUBLIC -mfma)
endif()

# steelyard_emulated_kernels(<target> <.cu file>...): their text as C++, through one-line files, because how a source is
# compiled cannot differ between targets of one folder.
function(steelyard_emulated_kernels target)
  set(instances)
  foreach(source ${ARGN})
    get_filename_component(name ${source} NAME)
    set(instance ${PROJECT_BINARY_DIR}/emulated/${target}/${name}.cc)
    file(CONFIGURE OUTPUT ${instance} CONTENT "#include \"${source}\"\n")
    list(APPEND instances ${instance})
  endforeach()
  add_library(${target} STATIC ${instances})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  # nvcc knows no aliasing by types, and kernels read codes as words.
  target_compile_options(${target} PRIVATE -fno-strict-aliasing -O2)
  target_link_libraries(${target} PUBLIC cuda_emulator PRIVATE steelyard_warnings)
endfunction()

file(GLOB probe_kernels CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/kernels/*.cu)
steelyard_emulated_kernels(emulator_kernels ${probe_kernels})
steelyard_test(cuda_emulator emulator_kernels)

# The backend itself, operation by operation and model by model.
steelyard_cuda_kernels(backend_kernels 9)
steelyard_cuda_encoders(backend_encoders)
steelyard_emulated_kernels(steelyard_cuda_emulated ${backend_kernels} ${backend_encoders})
target_sources(steelyard_cuda_emulated PRIVATE ${STEELYARD_CUDA_HOST_SOURCES})
target_link_libraries(steelyard_cuda_emulated PUBLIC steelyard_formats)
steelyard_test(compute/cuda steelyard_cuda_emulated steelyard_calibrate steelyard_evaluate)

# With nvcc, the same kernels also as the PTX it emits; without, tests of it are skipped. Products and encoders are
# compiled for some types, one of each kind: kernels of other types run as the host compiled them.
steelyard_ptx(ptx_of_probes probes_ptx 80 ${probe_kernels})
target_compile_definitions(cuda_emulator_test PRIVATE STEELYARD_PTX_PROBES="${probes_ptx}")
file(GLOB ptx_kernels CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/compute/cuda/*.cu)
list(APPEND ptx_kernels ${CMAKE_CURRENT_SOURCE_DIR}/compute/cuda/ptx_products.cu)
set(STEELYARD_PTX_ENCODERS IQ1_M IQ2_XS IQ4_XS Q4_K Q6_K CACHE STRING "types whose encoders are tested as PTX; empty: all")
steelyard_cuda_encoders(ptx_encoders ${STEELYARD_PTX_ENCODERS})
set(encoder_tests CudaEncoders.OneRowOfOneBlock:CudaEncoders.CallAfterCallAndTypeAfterType:CudaLdlq.MatrixAfterMatrix)
foreach(source ${ptx_encoders})
  string(REGEX REPLACE ".*/encode_(.*)\\.cu" "\\1" type ${source})
  string(TOUPPER ${type} type)
  string(APPEND encoder_tests ":*CudaEncodersOfTypes.*/${type}:*CudaLdlqOfTypes.OfOneBlock/${type}")
endforeach()
steelyard_ptx(ptx_of_backend backend_ptx 80 ${ptx_kernels} ${ptx_encoders})
list(JOIN backend_ptx ":" backend_ptx)
target_compile_definitions(compute_cuda_test PRIVATE STEELYARD_PTX_KERNELS="${backend_ptx}")
if(STEELYARD_NVCC)
  add_dependencies(cuda_emulator_test ptx_of_probes)
  add_dependencies(compute_cuda_test ptx_of_backend)
  add_test(NAME compute_cuda_ptx COMMAND compute_cuda_test
    --gtest_filter=CudaPtx.*:CudaOperations.*:CudaAttention.*:CudaExperts.*:CudaDeltaNet.*:CudaStreams.*:CudaProducts.EveryKernelOfSomeTypes:CudaProducts.AllSchedules:CudaProducts.RoundingOfTensorCores:CudaProducts.Batches:CudaProducts.Experts:CudaBackward.*:CudaBackwardAttention.HeadsOfAnyWidth:CudaBackwardAttention.WindowsAndSinks:CudaBackwardAttention.Latents:CudaBackwardProducts.SomeTypes:CudaBackwardProducts.AwkwardShapes:CudaBackwardProducts.SeveralOfOneInputAndBatches:CudaBackwardProducts.Experts:CudaBackwardProducts.WriteScales:*CudaModels.*/deepseek2:*CudaModels.*/qwen3next:${encoder_tests})
  set_tests_properties(compute_cuda_ptx PROPERTIES ENVIRONMENT "STEELYARD_CUDA_PTX=all;OMP_WAIT_POLICY=passive")
  # What devices without bfloat16 tensor cores get is another text.
  steelyard_ptx(ptx_of_backend_75 oldest_ptx 75 ${ptx_kernels})
endif()
