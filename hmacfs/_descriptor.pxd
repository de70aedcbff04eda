cdef class Descriptor:
    cdef int number
    cdef int users
    cdef bint owned
    cdef bint ended

    cdef int borrow(self) except -1
    cdef int give_back(self) except -1
    cdef int let_go(self) except -1
