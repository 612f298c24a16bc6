"""The lens: any convolutional network, any photograph, one line. Files and photographs in, pictures out."""
