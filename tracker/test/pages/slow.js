window.slow = true;
