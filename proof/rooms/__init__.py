"""Claims, room by room; every module has a tuple CLAIMS."""
