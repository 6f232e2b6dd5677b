# With STEELYARD_CUDA, nvcc compiles what host and device share: the unpackers of all types in formats.def.
if(NOT STEELYARD_CUDA)
  return()
endif()
find_package(CUDAToolkit REQUIRED)
file(STRINGS ${PROJECT_SOURCE_DIR}/src/formats/formats.def lines REGEX "^FORMAT\\(")
foreach(line ${lines})
  string(REGEX REPLACE "^FORMAT\\(([A-Z0-9_]+),.*" "\\1" name ${line})
  string(TOLOWER ${name} file)
  if(EXISTS ${PROJECT_SOURCE_DIR}/src/formats/${file}.h)
    string(APPEND STEELYARD_FORMAT_INCLUDES "#include \"formats/${file}.h\"\n")
    string(APPEND STEELYARD_FORMAT_CALLS "  instantiate<${name}>();\n")
  endif()
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/tests/formats/device_compile.cu.in ${PROJECT_BINARY_DIR}/device_compile.cu @ONLY)
# nvcc is called directly: CMake 3.25 does not know its flag for C++20.
set(device_object ${PROJECT_BINARY_DIR}/device_compile.o)
file(GLOB device_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/formats/*.h ${PROJECT_SOURCE_DIR}/src/base/*.h)
add_custom_command(
  OUTPUT ${device_object}
  COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -std=c++20 -arch=all-major --expt-relaxed-constexpr -I${PROJECT_SOURCE_DIR}/src
          -c ${PROJECT_BINARY_DIR}/device_compile.cu -o ${device_object}
  DEPENDS ${PROJECT_BINARY_DIR}/device_compile.cu ${device_headers} ${PROJECT_SOURCE_DIR}/src/formats/formats.def
  COMMENT "Compiling every unpacker for the device")
add_custom_target(device_compile ALL DEPENDS ${device_object})

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
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/ptx)
