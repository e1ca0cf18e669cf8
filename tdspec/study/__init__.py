"""Many runs -> tables."""
