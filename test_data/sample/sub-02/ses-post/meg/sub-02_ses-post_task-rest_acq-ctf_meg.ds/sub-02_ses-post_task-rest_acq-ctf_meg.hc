standard nasion coil position relative to dewar (cm):
	x = 7.5
	y = 7.1
