# With STEELYARD_CUDA, nvcc compiles the kernels, and steelyard_compute gets the CUDA backend. nvcc is called directly:
# CMake 3.25 does not know its flag for C++20.
set(STEELYARD_CUDA_ARCHITECTURES 75 80 86 89 90 100 120 CACHE STRING "compute capabilities, times 10, to compile kernels for")
if(STEELYARD_CUDA)
  find_package(CUDAToolkit REQUIRED)
endif()

# Adds the backend to steelyard_compute; nothing without STEELYARD_CUDA.
function(steelyard_cuda_library)
  if(NOT STEELYARD_CUDA)
    return()
  endif()
  foreach(architecture ${STEELYARD_CUDA_ARCHITECTURES})
    list(APPEND targets -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  list(GET STEELYARD_CUDA_ARCHITECTURES -1 newest)
  list(APPEND targets -gencode arch=compute_${newest},code=compute_${newest})  # for devices to come
  steelyard_cuda_kernels(kernels 2)
  foreach(source ${kernels})
    get_filename_component(name ${source} NAME)
    set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -std=c++20 -O3 ${targets} --expt-relaxed-constexpr
              -I${PROJECT_SOURCE_DIR}/src -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source}
      DEPFILE ${object}.d
      COMMENT "Kernels of ${name}")
    list(APPEND objects ${object})
  endforeach()
  add_library(steelyard_cuda STATIC ${STEELYARD_CUDA_HOST_SOURCES} ${objects})
  target_include_directories(steelyard_cuda PUBLIC ${PROJECT_SOURCE_DIR}/src PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(steelyard_cuda PUBLIC steelyard_formats CUDA::cudart_static CUDA::cublas PRIVATE steelyard_warnings)
  target_compile_definitions(steelyard_compute PRIVATE STEELYARD_WITH_CUDA)
  target_link_libraries(steelyard_compute PUBLIC steelyard_cuda)
endfunction()

# steelyard_ptx(<target> <output> <source> [<flag>...]): what nvcc emits for sm_80, for the interpreter of the tests.
function(steelyard_ptx target output source)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -std=c++20 -arch=compute_80 --expt-relaxed-constexpr
            -I${PROJECT_SOURCE_DIR}/src ${ARGN} -MD -MF ${output}.d -ptx ${source} -o ${output}
    DEPENDS ${source}
    DEPFILE ${output}.d
    COMMENT "PTX of ${source}")
  add_custom_target(${target} DEPENDS ${output})
endfunction()
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/ptx ${PROJECT_BINARY_DIR}/cuda)
