using System.Runtime.InteropServices;
using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;

namespace EphemeralFs.CsiDriver.Service;

/// <summary>What the driver says of itself.</summary>
public sealed record IdentityOptions
{
    /// <summary>Name of the driver in Kubernetes: the <c>CSIDriver</c> object, storage classes and the names of sockets have it.</summary>
    public const string DefaultName = "csi.ephemeralfs.io";

    /// <summary>Domain-style, at most 63 characters, begins and ends with a letter.</summary>
    public string Name { get; init; } = DefaultName;

    /// <summary>The controller service is served here or by another plugin of this name (CONTROLLER_SERVICE).</summary>
    public bool Controller { get; init; }

    /// <summary>Volumes are not reachable from every node (VOLUME_ACCESSIBILITY_CONSTRAINTS).</summary>
    public bool AccessibilityConstraints { get; init; }

    /// <summary>Snapshots of several volumes at one moment (GROUP_CONTROLLER_SERVICE).</summary>
    public bool GroupController { get; init; }

    /// <summary>Volumes grow while they are in use (VolumeExpansion ONLINE).</summary>
    public bool OnlineExpansion { get; init; }

    /// <summary>Asked at each probe: null when ready, <see cref="IdentityService.Starting"/> while not yet, else what is wrong and what to do.</summary>
    public required Func<string?> Problem { get; init; }
}

/// <summary>csi.v1.Identity: the service that every plugin has (CSI specification, "Identity Service RPC").</summary>
public sealed class IdentityService
{
    /// <summary>Said by <see cref="IdentityOptions.Problem"/> when nothing is wrong and the driver is only not ready yet.</summary>
    public const string Starting = "starting";

    /// <summary>Version of the specification whose messages are spoken.</summary>
    public const string CsiVersion = "1.12.0";

    private readonly IdentityOptions _options;

    /// <summary>The service with what it has to say.</summary>
    public IdentityService(IdentityOptions options) => _options = options;

    /// <summary>Of the driver, as <c>vendor_version</c>.</summary>
    public static string Version { get; } = typeof(IdentityService).Assembly.GetName().Version?.ToString(3)
        ?? throw new InvalidOperationException("the assembly of the driver has no version");

    /// <summary>The table of methods.</summary>
    public GrpcService Describe() => new(
        "csi.v1.Identity",
        GrpcMethod.Unary("GetPluginInfo", GetPluginInfoRequest.Parser, (_, _) => Task.FromResult(GetPluginInfo())),
        GrpcMethod.Unary("GetPluginCapabilities", GetPluginCapabilitiesRequest.Parser, (_, _) => Task.FromResult(GetPluginCapabilities())),
        GrpcMethod.Unary("Probe", ProbeRequest.Parser, (_, _) => Task.FromResult(Probe())));

    private GetPluginInfoResponse GetPluginInfo() => new()
    {
        Name = _options.Name,
        VendorVersion = Version,
        Manifest =
        {
            ["csi"] = CsiVersion,
            ["os"] = "linux",
            ["architecture"] = RuntimeInformation.ProcessArchitecture.ToString(),
            ["runtime"] = RuntimeInformation.FrameworkDescription,
        },
    };

    private GetPluginCapabilitiesResponse GetPluginCapabilities()
    {
        var response = new GetPluginCapabilitiesResponse();
        AddService(_options.Controller, PluginCapability.Types.Service.Types.Type.ControllerService);
        AddService(_options.AccessibilityConstraints, PluginCapability.Types.Service.Types.Type.VolumeAccessibilityConstraints);
        AddService(_options.GroupController, PluginCapability.Types.Service.Types.Type.GroupControllerService);
        if (_options.OnlineExpansion)
        {
            response.Capabilities.Add(new PluginCapability { VolumeExpansion = new() { Type = PluginCapability.Types.VolumeExpansion.Types.Type.Online } });
        }

        return response;

        void AddService(bool has, PluginCapability.Types.Service.Types.Type type)
        {
            if (has)
            {
                response.Capabilities.Add(new PluginCapability { Service = new() { Type = type } });
            }
        }
    }

    private ProbeResponse Probe() => _options.Problem() switch
    {
        null => new ProbeResponse { Ready = true },
        Starting => new ProbeResponse { Ready = false },
        var problem => throw new GrpcException(GrpcStatusCode.FailedPrecondition, problem),
    };
}
