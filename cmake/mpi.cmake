# Several machines (src/cluster): with STEELYARD_MPI the program's ranks are MPI's, else it runs alone.
if(STEELYARD_MPI)
  # Its C bindings: those of C++ are no part of MPI any more.
  set(MPI_CXX_SKIP_MPICXX ON)
  find_package(MPI REQUIRED COMPONENTS CXX)
  set(STEELYARD_MPI_OTHER_SOURCE ${PROJECT_SOURCE_DIR}/src/cluster/alone.cc)
else()
  set(STEELYARD_MPI_OTHER_SOURCE ${PROJECT_SOURCE_DIR}/src/cluster/mpi_ranks.cc)
endif()

function(steelyard_mpi_library)
  if(STEELYARD_MPI)
    target_link_libraries(steelyard_cluster PRIVATE MPI::MPI_CXX)
  endif()
endfunction()
